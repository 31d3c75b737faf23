//! `switchyard tenant`: tenants of a catalogue: who they are, with which keys, and what they may use.
//!
//! The catalogue is a file: the one that is named, else that of the stack in the state folder. It is
//! changed as a whole and only if the handler's rules for tenants hold afterwards.

use std::path::{Path, PathBuf};

use local::stack::keys::{Key, write_whole};
use reqwest::Url;
use serde_json::{Value, json};
use wire::catalogue::Catalogue;

use crate::Failure;
use crate::cli::{Limits, Tenant, TenantCommand, TenantWebhook};
use crate::place::Place;
use crate::print::Printer;

/// What settings with secrets of webhooks end in, so that a catalogue cannot name any other secret.
const SECRET_SETTING: &str = "_WEBHOOK_SECRET";
/// The catalogue of a stack, in its state folder.
const IN_STATE: &str = "blobs/config/catalogue.json";

/// Does what was asked for.
///
/// # Errors
/// When there is no catalogue, no such tenant, or the change breaks a rule; then nothing is changed.
pub fn run(flags: &Tenant, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let file = file(flags, place);
    let mut catalogue = read(&file)?;
    let done = match &flags.command {
        TenantCommand::List => return list(&catalogue, printer),
        TenantCommand::Add { name, permissions, limits } => add(&mut catalogue, name, permissions, limits)?,
        TenantCommand::Limit { limits, .. } if *limits == Limits::default() => {
            let help = "`switchyard tenant limit --help` lists them all";
            return Err(Failure(format!("give a limit to change, as --usd-per-day 20; {help}")));
        }
        TenantCommand::Limit { name, limits } => {
            set(tenant(&mut catalogue, name)?, limits);
            json!({ "tenant": name, "changed": true })
        }
        TenantCommand::Revoke { name, prefix } => revoke(&mut catalogue, name, prefix)?,
        TenantCommand::Webhook { name, what } => {
            if let TenantWebhook::Add { url, secret_setting } = what {
                check_webhook(url, secret_setting, flags.catalogue.is_none())?;
            }
            webhook(tenant(&mut catalogue, name)?, name, what)?
        }
    };
    write(&file, &catalogue)?;
    tell(&done, flags, printer);
    Ok(())
}

/// What handlers refuse in any case: they would go on with the catalogue before, and a new one would have none.
/// A stack on this machine tells webhooks here too.
fn check_webhook(url: &str, secret_setting: &str, is_here: bool) -> Result<(), Failure> {
    let read = Url::parse(url).map_err(|error| Failure(format!("the webhook's URL is none ({error})")))?;
    let is_local = matches!(read.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if read.scheme() != "https" && !(is_here && is_local && read.scheme() == "http") {
        return Err(Failure(format!("`{url}` is not https; give an https URL on the Internet")));
    }
    if !secret_setting.ends_with(SECRET_SETTING) {
        return Err(Failure(format!(
            "--secret-setting is `{secret_setting}`; name a setting of the handler that ends in {SECRET_SETTING}"
        )));
    }
    Ok(())
}

fn file(flags: &Tenant, place: &Place) -> PathBuf {
    let state = || flags.state.clone().unwrap_or_else(|| place.state()).join(IN_STATE);
    flags.catalogue.clone().unwrap_or_else(state)
}

fn read(file: &Path) -> Result<Value, Failure> {
    let at = file.display();
    let text = std::fs::read(file)
        .map_err(|error| Failure(format!("no catalogue at {at}: {error}; name one by --catalogue")))?;
    serde_json::from_slice(&text).map_err(|error| Failure(format!("{at} is no catalogue: {error}")))
}

/// Writes a catalogue that the rules allow, beside and then in place.
fn write(file: &Path, catalogue: &Value) -> Result<(), Failure> {
    let checked: Catalogue = serde_json::from_value(catalogue.clone())
        .map_err(|error| Failure(format!("nothing was changed: this is no catalogue: {error}")))?;
    let problems = checked.tenant_problems();
    if !problems.is_empty() {
        return Err(Failure(format!("nothing was changed: {}", problems.join("; "))));
    }
    write_whole(file, format!("{catalogue:#}\n").as_bytes())
        .map_err(|error| Failure(format!("{} cannot be written: {error}", file.display())))
}

fn tenants(catalogue: &mut Value) -> Result<&mut Vec<Value>, Failure> {
    let whole = catalogue.as_object_mut().ok_or_else(|| Failure("the catalogue is no object".to_owned()))?;
    let tenants = whole.entry("tenants").or_insert_with(|| json!([]));
    tenants.as_array_mut().ok_or_else(|| Failure("`tenants` of the catalogue is no list".to_owned()))
}

fn tenant<'a>(catalogue: &'a mut Value, name: &str) -> Result<&'a mut Value, Failure> {
    let found = tenants(catalogue)?.iter_mut().find(|tenant| tenant["id"] == name);
    found.ok_or_else(|| Failure(format!("there is no tenant `{name}`; `switchyard tenant list` shows them")))
}

/// A tenant with its first key, or one more key for one that is there.
fn add(catalogue: &mut Value, name: &str, permissions: &[String], limits: &Limits) -> Result<Value, Failure> {
    let key = Key::random().map_err(Failure::of)?;
    let mut entry = key.entry();
    entry["permissions"] = json!(permissions);
    if tenant(catalogue, name).is_err() {
        tenants(catalogue)?.push(json!({ "id": name, "keys": [] }));
    }
    let tenant = tenant(catalogue, name)?;
    let keys = tenant["keys"].as_array_mut().ok_or_else(|| Failure("`keys` is no list".to_owned()))?;
    let told = json!({ "tenant": name, "prefix": entry["prefix"], "key": key.reveal() });
    keys.push(entry);
    set(tenant, limits);
    Ok(told)
}

fn set(tenant: &mut Value, limits: &Limits) {
    let numbers = [
        ("requests_per_minute", limits.requests_per_minute.map(Value::from)),
        ("tokens_per_minute", limits.tokens_per_minute.map(Value::from)),
        ("queued_items", limits.queued_items.map(Value::from)),
        ("usd_per_day", limits.usd_per_day.map(Value::from)),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            tenant["limits"][name] = value;
        }
    }
    for name in &limits.unlimited {
        tenant["limits"][name.as_str()] = Value::Null;
    }
    if let Some(weight) = limits.weight {
        tenant["weight"] = weight.into();
    }
    if !limits.classes.is_empty() {
        tenant["classes"] = json!(limits.classes);
    }
}

fn revoke(catalogue: &mut Value, name: &str, prefix: &str) -> Result<Value, Failure> {
    let keys = tenant(catalogue, name)?["keys"].as_array_mut();
    let keys = keys.ok_or_else(|| Failure("`keys` is no list".to_owned()))?;
    let before = keys.len();
    keys.retain(|key| key["prefix"] != prefix);
    if keys.len() == before {
        return Err(Failure(format!("`{name}` has no key `{prefix}`; `switchyard tenant list` shows them")));
    }
    Ok(json!({ "tenant": name, "prefix": prefix, "revoked": true, "refused_within_s": 65 }))
}

fn webhook(tenant: &mut Value, name: &str, what: &TenantWebhook) -> Result<Value, Failure> {
    let all = tenant.as_object_mut().ok_or_else(|| Failure("the tenant is no object".to_owned()))?;
    let all = all.entry("webhooks").or_insert_with(|| json!([]));
    let all = all.as_array_mut().ok_or_else(|| Failure("`webhooks` is no list".to_owned()))?;
    match what {
        TenantWebhook::Add { url, .. } if all.iter().any(|webhook| webhook["url"] == *url) => {
            Err(Failure(format!("`{name}` is told at that address already; remove it first")))
        }
        TenantWebhook::Add { url, secret_setting } => {
            all.push(json!({ "url": url, "secret_setting": secret_setting }));
            Ok(json!({ "tenant": name, "url": url, "secret_setting": secret_setting, "added": true }))
        }
        TenantWebhook::Remove { url } => {
            let at = all.iter().position(|webhook| webhook["url"] == *url);
            all.remove(at.ok_or_else(|| Failure(format!("`{name}` is not told at that address")))?);
            Ok(json!({ "tenant": name, "url": url, "removed": true }))
        }
    }
}

fn list(catalogue: &Value, printer: &Printer) -> Result<(), Failure> {
    let none = Vec::new();
    for tenant in catalogue["tenants"].as_array().unwrap_or(&none) {
        let keys = tenant["keys"].as_array().unwrap_or(&none).iter();
        let keys: Vec<Value> =
            keys.map(|key| json!({ "prefix": key["prefix"], "permissions": key["permissions"] })).collect();
        let weight = tenant["weight"].as_u64().unwrap_or(1);
        let (id, limits, classes) = (&tenant["id"], &tenant["limits"], &tenant["classes"]);
        let shown = json!({
            "tenant": id, "weight": weight, "limits": limits, "classes": classes, "keys": keys,
            "webhooks": tenant["webhooks"].as_array().unwrap_or(&none),
        });
        printer.record(&shown);
        described(&shown).iter().for_each(|line| printer.say(line));
    }
    Ok(())
}

/// A tenant as people read it.
fn described(tenant: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all =
        |value: &Value| value.as_array().map(|each| each.iter().map(text).collect::<Vec<_>>().join(", "));
    let limits = tenant["limits"].as_object().into_iter().flatten().filter(|(_, limit)| !limit.is_null());
    let limits: Vec<String> = limits.map(|(name, limit)| format!("{name} {limit}")).collect();
    let mut rows = vec![
        ("weight", text(&tenant["weight"])),
        ("classes", all(&tenant["classes"]).unwrap_or_else(|| "all".to_owned())),
        ("limits", if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }),
    ];
    for key in tenant["keys"].as_array().into_iter().flatten() {
        let may = all(&key["permissions"]).unwrap_or_default();
        rows.push(("key", format!("{}  may {may}", text(&key["prefix"]))));
    }
    for webhook in tenant["webhooks"].as_array().into_iter().flatten() {
        rows.push(("webhook", format!("{}  {}", text(&webhook["url"]), text(&webhook["secret_setting"]))));
    }
    let rows = rows.into_iter().map(|(name, value)| format!("  {name:<8} {value}"));
    std::iter::once(text(&tenant["tenant"])).chain(rows).collect()
}

/// One object for programs; for people a name and a value a line, and what to know besides.
fn tell(done: &Value, flags: &Tenant, printer: &Printer) {
    if flags.json {
        return printer.result(&done.to_string());
    }
    for (name, value) in done.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        printer.say(&format!("{:<16} {text}", name.replace('_', " ")));
    }
    if done["key"].is_string() {
        printer.say("the key is shown this once; only its hash is kept");
    }
    if let (Some(setting), true) = (done["secret_setting"].as_str(), done["added"] == true) {
        printer.say(&format!(
            "every handler needs setting {setting} (`whsec_…`): one that has it not refuses this catalogue"
        ));
    }
    printer.say("handlers read a changed catalogue within 65 s; `switchyard knobs refresh` is at once");
}
