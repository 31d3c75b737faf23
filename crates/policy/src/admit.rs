//! Whether a tenant may ask at all: permissions and limits.
