//! A receiver of Application Insights envelopes.
