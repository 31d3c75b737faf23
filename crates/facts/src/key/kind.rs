//! What a key is of, without the names in it: for whoever must not be told of tenants, models and files.

/// What lies under a key, or what a folder lists: from a closed list, whatever names the key holds.
pub fn kind(key: &str) -> &'static str {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["t", _, "jobs", _, ref rest @ ..] => of_job(rest),
        ["t", _, "files", _, "content"] => "file content",
        ["t", _, "files", ..] => "file",
        ["t", _, "uploads", _, "parts", ..] => "upload part",
        ["t", _, "uploads", ..] => "upload",
        ["t", _, "index", ..] => "jobs",
        ["t", _, "batches", ..] => "batches",
        ["t", _, "recent", ..] => "recent",
        ["alerts", ..] => "alert",
        ["audit", ..] => "audit",
        ["config", ..] => "catalogue",
        ["dead", ..] => "dead letter",
        ["due", ..] => "due",
        ["expiring", ..] => "expiring",
        ["hooks", ..] => "hook",
        ["ledger", ..] => "ledger",
        ["old", ..] => "old",
        ["packs", ..] => "pack",
        ["ready", ..] => "ready",
        ["state", ..] => "state",
        _ => OTHER,
    }
}

const OTHER: &str = "object";

fn of_job(rest: &[&str]) -> &'static str {
    match rest {
        ["job.json"] => "job",
        ["tries", ..] => "try",
        ["out", ..] => "chunk",
        ["trying", ..] => "trying",
        ["hooks", ..] => "hook attempt",
        ["stop.json"] => "stop",
        ["end.json"] => "end",
        ["canary.json"] => "canary",
        ["promote"] => "promote",
        [name] if name.starts_with("input-") => "input",
        [name] if name.starts_with("deleted-") => "deleted result",
        _ => "job folder",
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    #[test]
    fn kinds_hold_no_names() {
        let job = JobId::random();
        let keys = JobKeys::new("acme", &job);
        let file = FileKeys::new("acme", job.as_str());
        let upload = UploadKeys::new("acme", job.as_str());
        for (key, wanted) in [
            (keys.job(), "job"),
            (keys.folder().trim_end_matches('/').to_owned(), "job folder"),
            (keys.folder().to_owned(), "job folder"),
            (keys.input("ab"), "input"),
            (keys.try_(1, 2), "try"),
            (keys.chunk(1, 2), "chunk"),
            (keys.trying(1, "by"), "trying"),
            (keys.attempt("e", 1), "hook attempt"),
            (keys.result_deleted("out"), "deleted result"),
            (keys.end(), "end"),
            (file.content(), "file content"),
            (file.meta(), "file"),
            (file.used(&job), "file"),
            (upload.upload(), "upload"),
            (upload.part("p"), "upload part"),
            (index("acme", 1, &job), "jobs"),
            (batches_of("acme"), "batches"),
            (recent("acme", "aa", 1, &job), "recent"),
            (due(1, "acme", &job), "due"),
            (ready("pool", "model", 1, "acme", &job), "ready"),
            (old(1, "acme", &job), "old"),
            (hook(1, "acme", &job, "e"), "hook"),
            (expiring(1, "acme", Perishable::File, job.as_str()), "expiring"),
            (pack("p"), "pack"),
            (dead_letter(b"x"), "dead letter"),
            (alert("a", true), "alert"),
            (ledger_job(1, "acme", &job), "ledger"),
            (decisions("2026-11-01/12", "p", 1), "audit"),
            (process_state("i"), "state"),
            (CATALOGUE.to_owned(), "catalogue"),
            ("acme/color".to_owned(), OTHER),
        ] {
            assert_eq!(kind(&key), wanted, "{key}");
        }
    }
}
