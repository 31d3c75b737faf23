//! `POST /v1/uploads/{id}/complete`: the parts become a file, checked and indexed as one that comes at
//! once. Memory is that of a piece being read and two parts on their way, whatever the length.

use facts::file::FileMeta;
use facts::upload::Ended;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use serde_json::{Map, Value};

use super::super::files::index::Index;
use super::super::files::upload::{Owned, meta};
use super::super::files::{failed, rules, store_failed};
use super::PART_PREFIX;
use crate::act::files::{self, Incoming};
use crate::act::uploads::{self, PARTS_MAX, Part, Seen};
use crate::app::App;
use crate::failure::Failure;
use crate::http::{self, Request, Response};

/// As many ids as there may be, and a checksum.
const BODY_BYTES_MAX: usize = 128 * 1024;

/// Makes a file of the parts that the body names. Sent again, it answers as before.
///
/// # Errors
/// 400 that names the field, 409 where the upload has ended otherwise, 429 while too many others upload.
/// The upload stays open, but for 409.
pub async fn answer(app: &App, request: &mut Request, seen: Seen) -> Result<Response, Failure> {
    let wish = Wish::read(&request.body(BODY_BYTES_MAX).await?)?;
    if seen.end.is_none() && !seen.is_expired(app.now().0) {
        let ended = assemble(app, &seen, &wish).await?;
        return told(app, Seen { end: Some(ended), ..seen }, &wish);
    }
    told(app, seen, &wish)
}

/// 200 where the upload became the file of these very parts.
fn told(app: &App, seen: Seen, wish: &Wish) -> Result<Response, Failure> {
    match &seen.end {
        Some(Ended::Completed { parts, .. }) if *parts == wish.parts => {
            Ok(http::json(200, &super::shown(app, &seen)))
        }
        _ => Err(super::closed(app, &seen)),
    }
}

async fn assemble(app: &App, seen: &Seen, wish: &Wish) -> Result<Ended, Failure> {
    let there = uploads::parts(&app.store, &seen.meta).await.map_err(|error| store_failed(&error))?;
    let parts = wish.choose(&there, seen.meta.bytes)?;
    let _place = rules::place(app)?;
    let began = Incoming::begin(&app.store, &seen.meta.tenant, app.now().0).await;
    let mut incoming = began.map_err(|error| store_failed(&error))?;
    let file = match copy(app, seen, wish, parts, &mut incoming).await {
        Ok(file) => file,
        Err(failure) => {
            incoming.abort(&app.store).await;
            return Err(failure);
        }
    };
    incoming.finish().await.map_err(|error| store_failed(&error))?;
    let id = file.file.clone();
    let how = Ended::Completed { parts: wish.parts.clone(), file };
    // Where this fails, the content may be the file's already: it stays, or the sweep takes it.
    let ended = uploads::end(&app.store, &app.clock, &seen.meta, how).await.map_err(failed)?;
    let is_ours = matches!(&ended, Ended::Completed { file, .. } if file.file == id);
    if !is_ours && let Err(error) = files::discard(&app.store, &seen.meta.tenant, &id).await {
        tracing::debug!(%error, "the content of a completion that came second is left to the sweep");
    }
    Ok(ended)
}

/// Copies the parts into one content; what is known of it.
async fn copy(
    app: &App,
    seen: &Seen,
    wish: &Wish,
    parts: Vec<Part>,
    incoming: &mut Incoming,
) -> Result<FileMeta, Failure> {
    let (mut index, mut md5) = (Index::default(), Md5::new());
    let in_parts = |why| rules::refused(why).of("part_ids");
    let mut content = uploads::content(&app.store, &seen.meta, parts);
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(|error| store_failed(&error))?;
        index.push(&piece).map_err(in_parts)?;
        if wish.md5.is_some() {
            md5.update(&piece);
        }
        incoming.write(piece).await.map_err(|error| store_failed(&error))?;
    }
    let indexed = index.finish().map_err(in_parts)?;
    if wish.md5.is_some_and(|wanted| wanted != *md5.finalize()) {
        let message = "`md5` is not that of the parts in this order; check both";
        return Err(Failure::invalid("md5", "checksum_mismatch", message));
    }
    let owned = Owned {
        tenant: &seen.meta.tenant,
        file: incoming.id(),
        filename: &seen.meta.filename,
        expires_after_s: seen.meta.file_expires_after_s,
    };
    Ok(meta(app, owned, indexed))
}

/// What a completion asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    /// Ids, in order.
    parts: Vec<String>,
    md5: Option<[u8; 16]>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Wish, Failure> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            Failure::invalid("body", "invalid_json", format!("the body is no JSON object: {error}"))
        })?;
        let parts = parts(fields.remove("part_ids"))?;
        let md5 = match fields.remove("md5") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(checksum(&text).ok_or_else(wrong_md5)?),
            Some(_) => return Err(wrong_md5()),
        };
        if let Some(name) = fields.keys().next() {
            let message = format!("`{name:.64}` is no field of a completion; leave it out");
            return Err(Failure::invalid("body", "unknown_parameter", message).of(name.clone()));
        }
        Ok(Wish { parts, md5 })
    }

    /// The parts that are meant, of those that are there.
    fn choose(&self, there: &[Part], bytes: u64) -> Result<Vec<Part>, Failure> {
        let find = |id: &String| {
            let message = format!("there is no part `{PART_PREFIX}{id}` of this upload; send it first");
            let found = there.iter().find(|part| part.part == *id);
            found.cloned().ok_or_else(|| Failure::invalid("part_ids", "part_not_found", message))
        };
        let parts: Vec<Part> = self.parts.iter().map(find).collect::<Result<_, _>>()?;
        let sum: u64 = parts.iter().map(|part| part.bytes).sum();
        if sum == bytes {
            return Ok(parts);
        }
        let message = format!("the parts have {sum} bytes in all; the upload announced {bytes}");
        Err(Failure::invalid("part_ids", "mismatched_bytes", message))
    }
}

fn parts(given: Option<Value>) -> Result<Vec<String>, Failure> {
    let wrong = || {
        let message = format!("`part_ids` must be a list of 1 to {PARTS_MAX} ids of parts, each once");
        Failure::invalid("part_ids", "invalid_value", message)
    };
    let given = given.filter(|given| !given.is_null()).ok_or_else(|| {
        let message = "`part_ids` is missing; add it to the body";
        Failure::invalid("part_ids", "missing_required_parameter", message)
    })?;
    let Value::Array(given) = given else { return Err(wrong()) };
    let id = |value: &Value| {
        let id = value.as_str()?.strip_prefix(PART_PREFIX)?;
        facts::id::is_id(id).then(|| id.to_owned())
    };
    let parts: Vec<String> = given.iter().map(id).collect::<Option<_>>().ok_or_else(wrong)?;
    let different: std::collections::HashSet<&String> = parts.iter().collect();
    let fits = (1..=PARTS_MAX).contains(&parts.len()) && different.len() == parts.len();
    if fits { Ok(parts) } else { Err(wrong()) }
}

/// 32 digits of hexadecimal, as every tool prints a checksum.
fn checksum(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes))?
}

fn wrong_md5() -> Failure {
    Failure::invalid("md5", "invalid_value", "`md5` must be the content's MD5 as 32 hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(letter: &str, bytes: u64) -> Part {
        Part { part: letter.repeat(26), bytes }
    }

    fn shown(letter: &str) -> String {
        format!("{PART_PREFIX}{}", letter.repeat(26))
    }

    #[test]
    fn the_order_is_the_clients() {
        let body = json!({ "part_ids": [shown("b"), shown("a")], "md5": "0".repeat(31) + "F" });
        let wish = Wish::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(wish.md5, Some(1_u128.to_be_bytes().map(|byte| byte * 15)));
        let there = [part("a", 3), part("b", 4), part("c", 5)];
        assert_eq!(wish.choose(&there, 7).unwrap(), [part("b", 4), part("a", 3)]);
        assert_eq!(wish.choose(&there, 8).unwrap_err().code, "mismatched_bytes");
        assert_eq!(wish.choose(&there[1..], 7).unwrap_err().code, "part_not_found");
    }

    #[test]
    fn wrong_wishes_are_refused_by_name() {
        let good = [shown("a")];
        let many: Vec<String> =
            (0..=PARTS_MAX).map(|_| PART_PREFIX.to_owned() + &facts::id::random()).collect();
        let cases = [
            (json!({}), "part_ids", "missing_required_parameter"),
            (json!({ "part_ids": null }), "part_ids", "missing_required_parameter"),
            (json!({ "part_ids": shown("a") }), "part_ids", "invalid_value"),
            (json!({ "part_ids": [] }), "part_ids", "invalid_value"),
            (json!({ "part_ids": [7] }), "part_ids", "invalid_value"),
            (json!({ "part_ids": ["part_../../x"] }), "part_ids", "invalid_value"),
            (json!({ "part_ids": [shown("a"), shown("a")] }), "part_ids", "invalid_value"),
            (json!({ "part_ids": many }), "part_ids", "invalid_value"),
            (json!({ "part_ids": good, "md5": 7 }), "md5", "invalid_value"),
            (json!({ "part_ids": good, "md5": "+".repeat(32) }), "md5", "invalid_value"),
            (json!({ "part_ids": good, "md5": "ab" }), "md5", "invalid_value"),
            (json!({ "part_ids": good, "color": "red" }), "color", "unknown_parameter"),
        ];
        for (body, param, code) in cases {
            let failure = Wish::read(body.to_string().as_bytes()).unwrap_err();
            assert_eq!((failure.param.as_deref(), failure.code), (Some(param), code), "{body:.200}");
        }
        for body in ["", "[]", "{", "7"] {
            assert_eq!(Wish::read(body.as_bytes()).unwrap_err().code, "invalid_json", "{body}");
        }
    }
}
