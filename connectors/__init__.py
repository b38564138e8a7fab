"""Outside systems: stores and ESPs. Nothing here knows a table, a rule or a configuration file."""
