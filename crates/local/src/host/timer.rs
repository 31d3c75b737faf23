//! The timer trigger: due, past due, never overlapping.
