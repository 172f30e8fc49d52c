"""Pictures of every page, taken in a real browser, of an empty, a usual and a very full service (``bin/pictures``).

The pages are the routes of the application, so that a new one cannot be forgotten. Taking them checks nothing
but that a page answers, fills no more than the window's width and complains of nothing; looking is for people.
"""
