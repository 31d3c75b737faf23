//! Text to vectors: tokenise, batch, run.
