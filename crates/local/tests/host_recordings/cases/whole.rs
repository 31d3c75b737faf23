//! host-whole.jsonl: the whole real host 4.1037 with a recording handler.

/// Which test replays what.
pub(super) const REPLAYED: &[(&str, &[&str])] = &[
    ("process::the_environment_is_the_hosts", &["A.env"]),
    ("admin::a_ping_does_not_reach_the_handler", &["A.ping"]),
    ("src/host/process.rs::a_late_listener_is_found_at_once", &["A.probe.get"]),
    ("streams::telemetry_of_the_host_makes_a_trace", &["A.headers-with-app-insights"]),
    ("whole::forwarding", &["B.*"]),
    ("streams::a_client_that_leaves_is_not_seen_by_a_forwarded_handler", &["B.client-disconnect"]),
    ("whole::envelopes", &["C.*"]),
    (
        "whole::functions_with_a_queue_output",
        &["D.envelope", "D.envelope.queue", "D.envelope.dollar-return", "D.envelope.dollar-return.queue"],
    ),
    ("queue::messages_without_encoding", &["E.none.*"]),
    ("queue::messages_in_base64", &["E.base64.*"]),
    ("queue::a_failed_try_is_followed_by_another", &["E.ans.302.forwarding-on", "E.ans.404-503"]),
    ("queue::as_many_run_at_once_as_the_settings_say", &["E.concurrency.default"]),
    ("timers::statuses", &["F.*"]),
    ("timers::a_schedule_that_is_none_is_in_error_alone", &["F.bad-schedule"]),
    (
        "src/host/timer_tests.rs::runs_longer_than_the_period_follow_each_other_without_overlap",
        &["F.overlap"],
    ),
    ("src/host/timer_tests.rs::it_fires_when_due_and_says_what_came_before", &["F.failing"]),
    ("admin::functions_are_fired_by_hand", &["G.*"]),
    ("process::a_stopped_host_kills_without_a_signal", &["H.shutdown.sigterm"]),
    ("process::exit_codes_decide_about_restarts", &["H.exit1.http", "H.exit200.http"]),
    ("process::after_exit_code_0_everything_fails", &["H.exit0"]),
    ("process::a_killed_handler_fails_what_it_had", &["H.sigkill.inflight"]),
    ("process::a_handler_that_never_listens_ends_the_host", &["H.neverlisten.2s", "H.listen5s.timeout2s"]),
    ("src/host/process.rs::nobody_is_given_up_after_the_limit", &["H.neverlisten.30s"]),
    ("process::early_invocations_wait_for_a_late_listener", &["H.listen5s"]),
    ("process::three_crashes_end_the_host", &["H.crashloop"]),
    ("process::a_message_that_kills_the_handler_ends_the_host", &["H.poisonous-message"]),
    ("process::a_stopped_host_waits_for_what_is_under_way", &["H.sigterm.inflight"]),
    ("../../tests/it/handler_life.rs::it_ends_when_its_host_is_gone", &["H.sigkill-host"]),
    (
        "process::an_empty_answer_never_completes",
        &["I.http.empty-200", "I.http.empty-200.after", "I.queue.empty 200", "I.queue.204", "I.queue.null"],
    ),
    ("process::a_time_out_takes_younger_invocations_with_it", &["I.queue-timeout"]),
    (
        "process::single_time_outs_restart_the_handler_and_are_no_crashes",
        &["I.http-timeout.forwarding", "I.repeated-single-timeouts"],
    ),
    ("process::time_outs_together_end_the_host", &["I.simultaneous-timeouts"]),
];

const PROBE_TIMES: &str = "holds times of a start and no request: the probe after it is A.probe.get and `probe-`, which are replayed";
const REUSED: &str = "only other handlers cause it: the recorder's own server answered 400 on a connection \
    that it had said to close; ours closes what it says to close";
const REDIRECT: &str = "only other apps meet it: redirects are followed where neither forwarding nor proxying \
    is on; our host.json sets both, and our handler redirects no envelope";
const NEVER: &str = "only other apps meet it: an HTTP function by envelope; that 204 never completes is replayed \
    as `I.queue.204` and `env-204`";
const CONVERSION: &str =
    "only other apps cause it: a conversion of an HTTP answer inside an envelope; ours are proxied";
const CLAIMS: &str = "only other apps meet it: the claims of a key inside an HTTP envelope; that a key opens is \
    `whole::keys_open_functions`";
const DATES: &str =
    "only other apps cause it: .NET rewrites dates in queue outputs, and no function of ours has one";

/// What no test replays.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("A.probe", PROBE_TIMES),
    ("A.probe.normal", PROBE_TIMES),
    (
        "A.nested",
        "on purpose: the real host runs such a folder and answers 404, ours refuses it and says how to stage it \
         (process::wrong_folders_say_what_to_do)",
    ),
    (
        "A.stdio",
        "lines of the host's own log, whose form here is our own; no handler and no client sees them",
    ),
    (
        "B.post.short-body",
        "a client that never sends the rest: the real host gives up after 5 s, ours when the client does; the \
         handler gets nothing in both",
    ),
    ("B.ans.201.after-keepalive", REUSED),
    ("B.ans.201.after", REUSED),
    ("B.ans.gzip", "the recording broke the bytes of the body; `forward-resp-gzip` has them whole"),
    ("B.ans.chunked", "the recorder's own pauses; `forward-resp-chunked` is the same answer"),
    ("B.keepalive-client", "only other handlers cause it: a Keep-Alive header of the recorder's own server"),
    (
        "B.chunked.enableChunkedRequestBinding",
        "only other apps meet it: a setting that changes nothing, so B.post.chunked and C.req.chunked are the same",
    ),
    ("B.root", "a start page: ours is our own and shorter, for people alone"),
    ("C.ans.headers multi", CONVERSION),
    ("C.ans.status 99", CONVERSION),
    ("C.handler-status.204", NEVER),
    ("C.handler-status.302", REDIRECT),
    ("C.key.function-header", CLAIMS),
    ("C.key.host-header", CLAIMS),
    ("C.key.master-header", CLAIMS),
    ("C.handler.logs.hostlog", "two lines of the host's own log, whose form here is our own"),
    (
        "E.none.control chars",
        "only other senders cause it: Azurite takes a text that no XML can carry; ours refuses it",
    ),
    ("E.none.ans.302", REDIRECT),
    ("E.none.ans.307", REDIRECT),
    ("E.ans.302.forwarding-off", REDIRECT),
    ("E.none.out.array date", DATES),
    ("E.base64.out.array date", DATES),
    ("E.none.out.date string", DATES),
    ("E.base64.out.date string", DATES),
    ("E.base64.out.object date offset", DATES),
    (
        "H.sigterm.inflight40s",
        "on purpose: the real host waits 40 s and longer, ours 10 s, because a person waits for the prompt; that \
         it waits is H.sigterm.inflight",
    ),
];
