"""The arms that train: fine-tuning, training from scratch, pretraining; scored on the folds of the frozen heads."""
