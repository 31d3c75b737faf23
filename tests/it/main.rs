//! The one integration binary: house rules, the handler over real HTTP, and the whole stack.

mod tidy;
