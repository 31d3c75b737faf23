//! A staged folder, read: `host.json` and the `function.json` of each function.
