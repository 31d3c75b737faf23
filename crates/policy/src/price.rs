//! Prices, with where and when they were read. Overridable by the catalogue.
