"""The report: counts, tables and plots on one page."""
