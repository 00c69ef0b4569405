"""What teachers and students are worth: probe, table, data efficiency."""
