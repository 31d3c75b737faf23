//! Shapes that Switchyard's own processes exchange.
