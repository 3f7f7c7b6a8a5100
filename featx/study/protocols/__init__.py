"""Five published works as studies, each a TOML file here that says in comments where it departs from the work."""
