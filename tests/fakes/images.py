"""Pictures for tests, written out: a yellow disc on blue, 100 by 100 pixels."""

from __future__ import annotations

PNG_100X100_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAGQAAABkCAIAAAD/gAIDAAABHElEQVR42u3cwRVCIRADwFTi2SIs0cIsxxJsQfmA"
    "sMx7qWCOsEluj6d8mSCABQsWLFiwEMCCBQsWLFgIYME6HOv9uv+a47AajFZQy3ZGf1TL1kyTyVKAaRpZKkmN9kox"
    "qaFeKcY0lCxVpUZ4pbBUd6/UlurrlfJSHb1yglQvL1hzsbaQ6uKVc6Sue+UoqYtesKZgbSp1xQvWeKytpZq9YMFa"
    "B6uAVJsXLFiLYJWRavCCBQsWLFiwYMGCBQsWLFiwYMGCBas0lpdSWLBWwPJvCAvWCliuaGC5/HMmuR+Wa2V38BoW"
    "6ihbYmmF6RtqsupIb9mR1r6362AxxBaNlaNjVo7sZ1lms/lnTRIWLFiwYAksWLBgwYIlsGDBWj4f+SrCOlQ7XfsA"
    "AAAASUVORK5CYII="
)

PNG_100X100_DATA_URL = f"data:image/png;base64,{PNG_100X100_BASE64}"

GIF_BASE64 = "R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
WEBP_BASE64 = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
JPEG_BASE64 = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP///////////////////////////////////////////////////////"
    "///////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)
"""The smallest of their kinds: one pixel each."""
