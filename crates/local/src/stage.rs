//! Stages the folder that the Functions host runs.
