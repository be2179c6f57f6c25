"""How the road is studied: plans, trials, records, tables, charts."""
