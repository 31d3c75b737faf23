//! OpenAI-compatible inference server.
