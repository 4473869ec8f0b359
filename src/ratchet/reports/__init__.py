"""Reports, charts and the status page: from tables of results to pages that people read.

``data_chapter``, ``target_chapter`` and ``market_chapter`` make chapters of ``blocks``: texts,
tables and charts. ``classification``, ``regression`` and ``forecasting`` hold what differs by task,
``search`` what concerns searches among networks. ``html`` and ``workbook`` write chapters,
``vega_lite`` draws charts. ``status`` makes the status page.
"""
