"""Who teaches the students: one file per teacher."""
