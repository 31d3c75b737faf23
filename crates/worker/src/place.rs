//! The address of a pack: a folder or a container, and the pack's id in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use facts::Store;
use facts::fault::Fault;
use facts::store::is_loopback;
use url::Url;

/// Where a pack lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The store: what stands before `packs/`.
    pub root: Root,
    /// The pack's id.
    pub pack: String,
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A folder.
    Folder(PathBuf),
    /// A container, with its signature if it has one.
    Container(Url),
}

impl Place {
    /// Reads `file:///ABS/…/packs/PACK.json`, a plain path of that form, or
    /// `https://ACCOUNT.blob.core.windows.net/CONTAINER/packs/PACK.json` (on loopback
    /// `http://HOST:PORT/ACCOUNT/CONTAINER/packs/PACK.json`), with or without a SAS.
    ///
    /// # Errors
    /// What is wrong with it. Never shows a signature.
    pub fn parse(text: &str) -> Result<Place, String> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => in_container(url),
            Ok(url) if url.scheme() == "file" => {
                let path = url.to_file_path().map_err(|()| wrong("is no file on this machine"))?;
                in_folder(&path)
            }
            // A path with a colon may look like a URL.
            Ok(url) if text.contains("://") => {
                Err(wrong(&format!("has scheme `{}`; give file, https or a path", url.scheme())))
            }
            _ => in_folder(Path::new(text)),
        }
    }

    /// Whether it lies on this machine.
    pub fn is_local(&self) -> bool {
        match &self.root {
            Root::Folder(_) => true,
            Root::Container(url) => is_loopback(url),
        }
    }

    /// Opens its store. Calls nothing.
    ///
    /// # Errors
    /// What is wrong with the address; none where the folder is not there, and with it the pack.
    pub fn open(&self, key: Option<&str>, fault: Option<Arc<Fault>>) -> Result<Option<Store>, String> {
        let store = match &self.root {
            // Opening a folder would make it.
            Root::Folder(folder) if !folder.is_dir() => return Ok(None),
            Root::Folder(folder) => Store::folder(folder)?,
            Root::Container(url) => Store::container(url.as_str(), key)?,
        };
        Ok(Some(store.with_fault(fault)))
    }
}

fn wrong(what: &str) -> String {
    format!("--pack {what}")
}

fn pack_of(file: &str) -> Result<String, String> {
    let pack = file.strip_suffix(".json").filter(|pack| facts::id::is_name(pack));
    pack.map(str::to_owned).ok_or_else(|| wrong("must end in packs/PACK.json"))
}

fn in_folder(path: &Path) -> Result<Place, String> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let (file, folder) = (name(path), path.parent());
    let pack = pack_of(&file.unwrap_or_default())?;
    let folder = folder.filter(|folder| name(folder).as_deref() == Some("packs")).and_then(Path::parent);
    let folder = folder.ok_or_else(|| wrong("must end in packs/PACK.json"))?;
    // The parent of a relative `packs` is the empty path, which means here.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok(Place { root: Root::Folder(folder.to_owned()), pack })
}

fn in_container(mut url: Url) -> Result<Place, String> {
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(wrong("is http on another machine; give https"));
    }
    let path = url.path().to_owned();
    let (root, pack) = path.rsplit_once("/packs/").ok_or_else(|| wrong("must end in packs/PACK.json"))?;
    let pack = pack_of(pack)?;
    url.set_path(root);
    url.set_fragment(None);
    Ok(Place { root: Root::Container(url), pack })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form_are_taken_apart() {
        let folder = |path: &str| Root::Folder(path.into());
        let container = |url: &str| Root::Container(Url::parse(url).unwrap());
        for (text, root) in [
            ("file:///var/store/packs/p-1.json", folder("/var/store")),
            ("/var/store/packs/p-1.json", folder("/var/store")),
            ("store/packs/p-1.json", folder("store")),
            ("packs/p-1.json", folder(".")),
            (
                "https://acct.blob.core.windows.net/sy/packs/p-1.json",
                container("https://acct.blob.core.windows.net/sy"),
            ),
            (
                "https://acct.blob.core.windows.net/sy/a/packs/p-1.json?sv=1&sig=x",
                container("https://acct.blob.core.windows.net/sy/a?sv=1&sig=x"),
            ),
            (
                "http://127.0.0.1:10000/devstoreaccount1/sy/packs/p-1.json",
                container("http://127.0.0.1:10000/devstoreaccount1/sy"),
            ),
        ] {
            assert_eq!(Place::parse(text), Ok(Place { root, pack: "p-1".to_owned() }), "{text}");
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in [
            "",
            "p-1.json",
            "/var/packs/p 1.json",
            "/var/packs/p-1",
            "/var/other/p-1.json",
            "file://host/packs/p.json",
            "http://example.com/acct/sy/packs/p-1.json",
            "https://acct.blob.core.windows.net/sy/p-1.json?sig=secret",
            "ftp://host/packs/p-1.json",
        ] {
            let error = Place::parse(text).expect_err(text);
            assert!(error.starts_with("--pack ") && !error.contains("secret"), "{text}: {error}");
        }
    }
}
