//! A job's lines going in.

use bytes::Bytes;
use facts::job::{Input, Shard};
use facts::{Job, line};

use super::{Jobs, Trouble};

/// The lines of one shard, in order.
#[derive(Debug)]
pub struct ShardLines {
    first_line: u64,
    text: Bytes,
}

impl Jobs {
    /// Reads a shard's lines.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn lines(&self, job: &Job, shard: &Shard) -> Result<ShardLines, Trouble> {
        let range = shard.offset..shard.offset + shard.bytes;
        let text = match &job.input {
            Input::Object(key) => self.store().get_range(key, range).await?,
            Input::Inline(text) => {
                let range = range.start as usize..range.end as usize;
                let part = text.as_bytes().get(range);
                let what = "its shards lie outside its input".to_owned();
                let part = part.ok_or_else(|| Trouble::Unreadable { key: job.job.to_string(), what })?;
                Bytes::copy_from_slice(part)
            }
        };
        Ok(ShardLines { first_line: shard.first_line, text })
    }
}

impl ShardLines {
    /// The lines of `range` (numbers of the job, from 0), each with its number.
    pub fn numbered(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first_line..).zip(line::split(&self.text)).filter(move |(n, _)| range.contains(n))
    }
}

/// The client's own name of a line's item; empty where the line has none.
pub fn custom_id(line: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        custom_id: String,
    }
    serde_json::from_slice::<Named>(line).map(|named| named.custom_id).unwrap_or_default()
}
