//! All stand-ins together.
