//! Whose request it is. Keys look like `sy-{8 public characters}-{32 secret ones}`; they are found
//! by the public part and compared, as SHA-256, in constant time. No catalogue, no entry.

use std::sync::Arc;

use policy::dispatch::Class;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use wire::catalogue::Permission;

use crate::catalogue::{Catalogue, Holder, Tenant};
use crate::failure::{Failure, Kind};

/// A longer text is no key of ours; it is not hashed.
const KEY_BYTES_MAX: usize = 256;

/// Who acts, as the audit log may name them: never by the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Public part of the key.
    pub key: String,
    /// The tenant whose key it is; none: an operator.
    pub tenant: Option<String>,
}

impl Actor {
    /// As a line of the audit log names them.
    pub fn named(&self) -> audit::action::Actor<'_> {
        audit::action::Actor::Key(&self.key, self.tenant.as_deref())
    }
}

/// A tenant that showed its key.
#[derive(Clone, Debug)]
pub struct Caller {
    catalogue: Arc<Catalogue>,
    at: usize,
    key: String,
}

impl Caller {
    /// The tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.catalogue.tenants[self.at]
    }

    /// As who it acts.
    pub fn actor(&self) -> Actor {
        Actor { key: self.key.clone(), tenant: Some(self.tenant().id.clone()) }
    }

    /// The class of its work: the one that it asks for, else the usual, else what comes next.
    ///
    /// # Errors
    /// 403 for a class that the catalogue does not give it.
    pub fn class(&self, asked: Option<Class>) -> Result<Class, Failure> {
        let may = &self.tenant().classes;
        match asked {
            Some(asked) if may.contains(&asked) => Ok(asked),
            Some(asked) => {
                let names: Vec<&str> = may.iter().map(|class| class.as_str()).collect();
                let message = format!(
                    "this tenant may not use the class `{}`; it may use {}",
                    asked.as_str(),
                    names.join(", ")
                );
                Err(Failure::new(Kind::Forbidden, "class_not_allowed", message).of("Switchyard-Class"))
            }
            None if may.contains(&Class::Standard) => Ok(Class::Standard),
            None => Ok(may.last().copied().unwrap_or_default()),
        }
    }
}

/// The tenant whose key the request carries, if that key may do this.
///
/// # Errors
/// 401 without a known key, 403 when the key may not.
pub fn tenant(
    catalogue: &Arc<Catalogue>,
    headers: &HeaderMap,
    wanted: Permission,
) -> Result<Caller, Failure> {
    let (key, holder) = holder(catalogue, headers)?;
    match holder {
        Holder::Tenant(at, permissions) if permissions.contains(&wanted) => {
            Ok(Caller { catalogue: Arc::clone(catalogue), at: *at, key: key.to_owned() })
        }
        Holder::Tenant(..) => {
            Err(forbidden(format!("this key may not {}; ask the operator for one that may", verb(wanted))))
        }
        Holder::Admin => Err(forbidden("this is an operator's key; use a tenant's key here")),
    }
}

/// Checks that the request carries an operator's key, or one of a tenant that may operate, and says whose.
///
/// # Errors
/// 401 without a known key, 403 when it is a tenant's.
pub fn admin(catalogue: &Catalogue, headers: &HeaderMap) -> Result<Actor, Failure> {
    let (key, holder) = holder(catalogue, headers)?;
    match holder {
        Holder::Admin => Ok(Actor { key: key.to_owned(), tenant: None }),
        Holder::Tenant(at, permissions) if permissions.contains(&Permission::Admin) => {
            Ok(Actor { key: key.to_owned(), tenant: Some(catalogue.tenants[*at].id.clone()) })
        }
        Holder::Tenant(..) => Err(forbidden("this needs an operator's key")),
    }
}

fn forbidden(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Forbidden, "insufficient_permissions", message)
}

fn verb(permission: Permission) -> &'static str {
    match permission {
        Permission::Submit => "submit work",
        Permission::Read => "read",
        Permission::Cancel => "cancel",
        Permission::Admin => "operate",
    }
}

/// Public part and holder of the key that a request carries.
fn holder<'a>(catalogue: &'a Catalogue, headers: &'a HeaderMap) -> Result<(&'a str, &'a Holder), Failure> {
    let refused = |message| Err(Failure::new(Kind::Unauthenticated, "invalid_api_key", message));
    let Some(given) = presented(headers) else {
        return refused("no API key was given; send `Authorization: Bearer KEY` or `api-key: KEY`");
    };
    let wrong = "this API key is not known; check it, or ask the operator for one";
    if given.len() > KEY_BYTES_MAX {
        return refused(wrong);
    }
    let prefix = given.strip_prefix("sy-").and_then(|rest| rest.split('-').next()).unwrap_or_default();
    match catalogue.key(prefix) {
        Some(key) if same(&key.sha256, &Sha256::digest(given)) => Ok((prefix, &key.holder)),
        _ => refused(wrong),
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text("api-key"))
}

/// Compares without telling by its duration where two values differ.
fn same(a: &[u8; 32], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b))) == 0
}
