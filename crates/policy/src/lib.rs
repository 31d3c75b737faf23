//! Pure routing and scaling decisions.
