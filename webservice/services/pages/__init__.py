"""What pages show, read from stored columns: no page counts, and none asks a system outside POMS for a list.

One module per page family. Each function returns the plain values that its template documents; the
same values are the page's JSON. ``url(route, **arguments)`` makes addresses and is the caller's.
"""
