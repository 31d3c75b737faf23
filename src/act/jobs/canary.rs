//! The check of a large job's first chunk, before the rest of it leaves for the pool: its vectors by
//! themselves, and a few of them beside the realtime lane's. What was found is kept as a fact; an unsound
//! chunk stops the job.

use std::time::Duration;

use facts::job::{Canary, StopWhy};
use facts::key::JobKeys;
use facts::{Job, JobId, VERSION, line};
use futures_util::future::join_all;
use policy::canary::{self, Gate};
use policy::reason::Code;
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::openai::EmbeddingsResponse;
use wire::whole::Whole;

use super::held_up::Step;
use super::look::{Look, World, is_served};
use super::rescue::Ask;
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble, text};

/// The realtime lane gets this long in all: a sweep has other jobs too. A lane that is cold is not waited
/// for.
const COMPARE_WITHIN: Duration = Duration::from_secs(5);

impl Survey {
    /// Whether the first chunk is there and waits to be checked.
    pub(super) fn canary_due(&self) -> bool {
        let first = self.state.shards.first().and_then(|shard| shard.chunks.first());
        self.gate != Gate::Open && !self.promoted && first == Some(&true)
    }
}

impl Jobs {
    /// Looks at a job, and checks its first chunk where that is due.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is lost, the next look goes on.
    pub async fn look_and_check(
        &self,
        world: World<'_>,
        (tenant, id): (&str, &JobId),
        pass: &Pass,
        ask: &impl Ask,
    ) -> Result<Look, Trouble> {
        let looked = async {
            let looked = self.look(world, tenant, id, pass).await?;
            if looked != Look::Check {
                return Ok(looked);
            }
            self.check_canary(world, (tenant, id), pass, ask).await?;
            self.look(world, tenant, id, pass).await
        };
        let looked = looked.await;
        self.held_up().note(Step::look(tenant, id), &looked, self.now());
        looked
    }

    async fn check_canary(
        &self,
        world: World<'_>,
        (tenant, id): (&str, &JobId),
        pass: &Pass,
        ask: &impl Ask,
    ) -> Result<(), Trouble> {
        let Some(survey) = self.survey(tenant, id, pass).await? else { return Ok(()) };
        let (job, keys) = (&survey.job, JobKeys::new(tenant, id));
        let Some(shard) = job.shards.first() else { return Ok(()) };
        let chunk = self.store().get(&keys.chunk(0, 0)).await?.content;
        let given = self.lines(job, shard).await?;
        let lines: Vec<Line<'_>> = given
            .numbered(shard.chunk_range(job.chunk_lines, 0))
            .zip(line::split(&chunk))
            .filter_map(|((_, given), done)| Line::read(given, done))
            .collect();
        let length = world.catalogue.model(&job.model).and_then(|model| model.spec.dimensions);
        let mut found = by_itself(&lines, length);
        found.lines = shard.chunk_range(job.chunk_lines, 0).count() as u64;
        if found.wrong.is_none() && is_served(world, &survey) {
            compare(job, &lines, ask, &mut found).await;
        }
        found.at_ms = self.now().0;
        match &found.wrong {
            None => tracing::info!(vectors = found.vectors, compared = found.compared, "canary passed"),
            // Before the finding: once that is there, nothing is held any more.
            Some(wrong) => {
                tracing::error!(wrong, "canary failed; the job is stopped");
                let reason = format!("the job's first results are unsound, so the rest was not run: {wrong}");
                self.stop_with(job, StopWhy::Failed, Some(Code::CanaryFailed), &reason).await?;
            }
        }
        self.store().create(&keys.canary(), text(&found)).await?;
        Ok(())
    }
}

/// A line that was asked and answered with vectors.
struct Line<'a> {
    body: &'a RawValue,
    /// `dimensions` of the request.
    length: Option<usize>,
    vectors: Vec<Vec<f32>>,
}

impl<'a> Line<'a> {
    /// None where the line has an error of its own.
    fn read(given: &'a [u8], done: &[u8]) -> Option<Line<'a>> {
        #[derive(Deserialize)]
        struct Asked {
            dimensions: Option<Whole<usize>>,
        }
        let given: line::InLine<'a> = serde_json::from_slice(given).ok()?;
        let done: line::OutLine<'_> = serde_json::from_slice(done).ok()?;
        if !done.is_output() {
            return None;
        }
        let asked: Asked = serde_json::from_str(given.body.get()).ok()?;
        let vectors = vectors(done.response?.body.get().as_bytes())?;
        Some(Line { body: given.body, length: asked.dimensions.map(|Whole(length)| length), vectors })
    }
}

/// The vectors of an answer; one that cannot be decoded is an empty one, which is never sound.
fn vectors(body: &[u8]) -> Option<Vec<Vec<f32>>> {
    let answer: EmbeddingsResponse = serde_json::from_slice(body).ok()?;
    Some(answer.data.iter().map(|item| item.embedding.values().unwrap_or_default()).collect())
}

fn by_itself(lines: &[Line<'_>], length: Option<u32>) -> Canary {
    let own = length.map(|length| length as usize);
    let wrong = |line: &Line<'_>| {
        let length = line.length.or(own);
        line.vectors.iter().find_map(|vector| canary::wrong(vector, length))
    };
    Canary {
        v: VERSION,
        wrong: lines.iter().find_map(wrong),
        lines: 0,
        vectors: lines.iter().map(|line| line.vectors.len() as u64).sum(),
        compared: 0,
        least_cosine: None,
        at_ms: 0,
    }
}

/// Asks a few lines of the realtime lane too. One that does not answer says nothing about the chunk.
async fn compare(job: &Job, lines: &[Line<'_>], ask: &impl Ask, found: &mut Canary) {
    let asked = &lines[..lines.len().min(canary::COMPARED)];
    let answers = join_all(asked.iter().map(|line| ask.ask(job, line.body)));
    let answers = tokio::time::timeout(COMPARE_WITHIN, answers).await.unwrap_or_default();
    for (line, answer) in asked.iter().zip(answers) {
        let Some(answer) = answer.filter(|answer| answer.status == 200) else { continue };
        let Some(realtime) = vectors(&answer.body) else { continue };
        for (pool, realtime) in line.vectors.iter().zip(&realtime) {
            match canary::parity(pool, realtime) {
                Ok(cosine) => {
                    found.compared += 1;
                    found.least_cosine = Some(found.least_cosine.map_or(cosine, |least| least.min(cosine)));
                }
                Err(wrong) => found.wrong = Some(wrong),
            }
        }
    }
}
