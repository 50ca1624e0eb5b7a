"""The work of jobs: models that endpoints fetch, and how fast they answer."""
