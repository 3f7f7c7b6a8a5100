"""featx from Python: a function for each verb of the command line, with its names, defaults, checks and sentences.

::

    names        which name of `featx` is in which module, for `featx.__getattr__`
    inputs       whatever stands for images
    writing      tables of text as files
    words        options as a mapping, or as the words NAME=VALUE of the command line
    frames       tables in memory where the command line has files
    gathering    feature files and tables become feature sets
    behind       whom the networks behind feature sets were trained on
    asking       options become a request; files are read, words are checked
    added        featx's own folder, and the networks that a user added
    wanting      which networks are wanted, and how the engine runs
    finding      index, check
    extracting   extract
    fitting      fit, curve
    predicting   predict
    learning     the network that trains, its recipe, its machine
    training     train
    pretraining  pretrain
    reading      what featx wrote, as tables
    showing      pages, comparisons, maps, studies
    extractor    FeatureExtractor, a transformer of scikit-learn
    rows         rows of images, made once
    pictured     whatever stands for an image in X

The verbs of the command line call what stands here, and print. Here nothing prints: progress goes to a function
that is given, and sentences that are no errors stand in the result. ``home`` is featx's own folder, for downloaded
weights, networks that were added and what folders held; without it ~/.cache/featx, whatever the environment says:
whoever sets FEATX_HOME for the command line gives its value here.
"""
