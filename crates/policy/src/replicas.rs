//! How many replicas a realtime backend should have.
