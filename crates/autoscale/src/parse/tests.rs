//! Mistakes and their places.

use super::*;
