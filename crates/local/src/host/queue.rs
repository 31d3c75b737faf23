//! The queue trigger: polling, visibility, retries, the poison queue.
