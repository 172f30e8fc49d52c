"""HTTP in, HTTP out: routes, and the frame around them. Nothing here decides about campaigns."""
