//! Timer schedules: six-field NCRONTAB expressions and time spans.
