//! A client that asks again until it is answered, wherever the stack is by then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use local::stack::Ready;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use crate::PATIENCE;

/// A single try takes no longer.
const TRY_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the stack that this ready file names.
pub struct Client {
    http: reqwest::Client,
    ready_file: PathBuf,
}

impl Client {
    pub fn new(ready_file: PathBuf) -> Client {
        Client { http: reqwest::Client::new(), ready_file }
    }

    pub async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        self.ask(|host| self.http.get(format!("{host}{path}"))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let request = |host: &str| self.http.post(format!("{host}{path}")).json(body);
        serde_json::from_str(&self.ask(request).await).unwrap()
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Value {
        let request =
            |host: &str| self.http.post(format!("{host}{path}")).header("idempotency-key", key).json(body);
        serde_json::from_str(&self.ask(request).await).unwrap()
    }

    /// Uploads the input of a batch; its id.
    pub async fn upload(&self, content: &str) -> String {
        let form = format!(
            "--form\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --form\r\ncontent-disposition: form-data; name=\"file\"; filename=\"storm.jsonl\"\r\n\
             content-type: application/jsonl\r\n\r\n{content}\r\n--form--\r\n"
        );
        let request = |host: &str| {
            let request = self.http.post(format!("{host}/api/v1/files")).body(form.clone());
            request.header("content-type", "multipart/form-data; boundary=form")
        };
        let file: Value = serde_json::from_str(&self.ask(request).await).unwrap();
        file["id"].as_str().unwrap().to_owned()
    }

    /// The body of the first answer that is no "again".
    async fn ask(&self, request: impl Fn(&str) -> RequestBuilder) -> String {
        let began = Instant::now();
        let mut last = "nothing was answered".to_owned();
        while began.elapsed() < PATIENCE {
            if let Ok(ready) = Ready::read(&self.ready_file) {
                let request = request(&ready.host_url).bearer_auth(&ready.api_key).timeout(TRY_LIMIT);
                match whole(request).await {
                    Ok((status, body)) if status.is_success() => return body,
                    Ok((status, body)) => {
                        let again = matches!(status.as_u16(), 408 | 429) || status.is_server_error();
                        last = format!("{status}: {body}");
                        assert!(again, "{last}");
                    }
                    Err(error) => last = error.to_string(),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("asked in vain: {last}");
    }
}

/// An answer that breaks off is none.
async fn whole(request: RequestBuilder) -> reqwest::Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}
