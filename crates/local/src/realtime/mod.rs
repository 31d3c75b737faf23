//! A front with inference replicas that scale from zero, as Container Apps does.
