"""A model of what an estate costs a month in Azure: ``python -m tools.cost``.

``prices`` has the list prices, ``measured`` what Flowtally takes and where that was found out, ``model`` the
arithmetic, and ``page`` the tables of docs/cost.md.
"""
