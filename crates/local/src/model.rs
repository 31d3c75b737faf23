//! Fetches the model that the local stack serves.
