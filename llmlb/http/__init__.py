"""Everything that speaks HTTP. `app` is what hypercorn serves."""

from llmlb.http.heap import importing

with importing():
    from llmlb.http.application import create_app

    app = create_app(routes_at_once=False)
