"""Everything that speaks HTTP. `app` is what hypercorn serves."""

from llmlb.http.application import create_app

app = create_app()
