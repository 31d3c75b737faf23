//! host-parts.jsonl: the host's own classes with raw sockets on both sides.

/// Which test replays what.
pub(super) const REPLAYED: &[(&str, &[&str])] = &[
    ("answers::answers_mean_what_they_mean_to_the_real_host", &["env-*"]),
    (
        "queue::a_broken_answer_fails_the_invocation",
        &["env-drop-before-answer", "env-drop-mid-head", "env-garbage"],
    ),
    ("queue::envelopes_of_the_hosts_own_classes", &["bytes-queue*"]),
    ("timers::envelopes", &["bytes-timer*"]),
    (
        "src/host/process.rs::any_answer_counts_as_ready_and_is_asked_for_once",
        &["probe-404", "probe-500", "probe-garbage"],
    ),
    ("src/host/process.rs::a_closed_connection_is_tried_four_times", &["probe-close"]),
    ("src/host/process.rs::a_late_listener_is_found_at_once", &["probe-late-listener"]),
    ("src/host/process.rs::a_slow_answer_is_waited_for", &["probe-slow-answer"]),
    ("requests::proxying", &["proxy-*"]),
    ("requests::forwarding", &["forward-*"]),
    ("requests::envelopes", &["envelope-*"]),
    (
        "requests::late_handlers",
        &[
            "proxy-late-get-400",
            "proxy-late-get-1200",
            "proxy-late-post-400",
            "proxy-late-post-1200",
            "proxy-late-postchunked-400",
            "proxy-late-postchunked-1200",
            "forward-late-get-400",
            "forward-late-get-1200",
            "forward-late-post-400",
            "forward-late-postchunked-400",
            "forward-late-postchunked-1200",
        ],
    ),
    (
        "streams::telemetry_of_the_host_makes_a_trace",
        &["proxy-get-notraceparent-withlistener", "forward-get-notraceparent-withlistener"],
    ),
    (
        "streams::a_client_that_leaves_is_seen_by_a_proxied_handler",
        &["proxy-sse-client-disconnect", "proxy-work-client-disconnect"],
    ),
    (
        "streams::a_client_that_leaves_is_not_seen_by_a_forwarded_handler",
        &["forward-sse-client-disconnect", "forward-work-client-disconnect"],
    ),
    (
        "streams::proxied_bodies_flow",
        &["proxy-upload-timing-chunked", "proxy-upload-timing-bigchunks", "proxy-early-response"],
    ),
    ("streams::forwarded_bodies_are_read_whole_first", &["forward-upload-timing-cl"]),
    ("streams::events_flow_under_proxying_alone", &["proxy-sse-post", "forward-sse-post"]),
    (
        "streams::bodies_beyond_the_limit_and_chunked_ones_fail",
        &[
            "proxy-limit-chunked",
            "forward-limit-cl",
            "forward-limit-chunked",
            "forward-upload-timing-bigchunks",
        ],
    ),
    ("streams::a_connection_is_kept_after_204", &["proxy-keepalive-after-204"]),
    (
        "streams::a_body_is_not_sent_twice",
        &[
            "proxy-reuse-read-whole-request-then-close",
            "forward-reuse-read-whole-request-then-close",
            "forward-reuse-close-idle-before",
        ],
    ),
    (
        "queue::an_envelope_is_not_sent_twice",
        &["queue-envelope-reuse-read-whole-request-then-close", "queue-envelope-reuse-close-idle-before"],
    ),
    ("outputs::outputs_become_the_recorded_messages", &["out-queue-*"]),
    ("queue::pauses_between_polls", &["backoff-*"]),
    ("timers::schedules", &["schedule *"]),
    ("timers::schedules_may_be_settings", &["schedule %S%", "schedule %MISSING%"]),
    ("timers::past_due", &["pastdue-*"]),
    ("process::a_stopped_host_kills_without_a_signal", &["process-kill"]),
];

const REDIRECT: &str = "only other apps meet it: redirects are followed where neither forwarding nor proxying \
    is on; our host.json sets both, and our handler redirects no envelope";
const LENIENT: &str =
    "only other handlers cause it: Newtonsoft's leniency with an answer; ours are strict JSON in UTF-8";
const MESSAGE: &str =
    "only other senders cause it: Newtonsoft's leniency with a message; ours are strict JSON";
const ACTIVITY: &str = "a trace that the recorder set around the class; what the whole host makes of telemetry is \
    A.headers-with-app-insights";
const CLASS: &str =
    "a CLR value that the recorder handed to the class; no queue and no timer trigger gives it";
const ENVELOPE_TRACE: &str =
    "only other apps meet it: an HTTP function by envelope under telemetry; ours are proxied";
const ROUTES: &str = "the recorder called the class with route values of its own, without the host's routing";
const NEVER: &str = "only other apps meet it: an HTTP function by envelope; that such an answer never completes is \
    replayed as `env-` and `I.`";
const CONVERSION: &str =
    "only other apps cause it: a conversion of an HTTP answer inside an envelope; ours are proxied";
const DATES: &str =
    "only other apps cause it: .NET rewrites dates in queue outputs, and no function of ours has one";
const SWITCH: &str =
    "only other apps meet it: a WebSocket; our handler offers none, the stand-in answers 501";

/// What no test replays.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("env-302", REDIRECT),
    ("env-307", REDIRECT),
    ("env-comment", LENIENT),
    ("env-single-quotes", LENIENT),
    ("env-charset-bad", LENIENT),
    ("bytes-queue-json-comment", MESSAGE),
    ("bytes-queue-json-single", MESSAGE),
    ("bytes-queue-lone-surrogate", "only other senders cause it: no UTF-8 text has a lone surrogate"),
    ("bytes-queue-hello-activity-w3c", ACTIVITY),
    ("bytes-queue-hello-activity-recorded", ACTIVITY),
    ("bytes-queue-hello-activity-hier", ACTIVITY),
    (
        "bytes-queue-coretools",
        "`func start` alone sends Content-Length; the stand-in sends what the host in Azure does",
    ),
    ("bytes-queue-big", "300,000 characters, more than a queue takes; its largest message is E.none.big"),
    ("bytes-value-encodings", CLASS),
    ("bytes-binary-nodatatype", CLASS),
    ("bytes-null-trigger", CLASS),
    (
        "bytes-timer-first",
        "a status without offset, made by the recorder; the whole host's first run is F.Minute",
    ),
    (
        "probe-302",
        "only other handlers cause it: a redirect at `/`, which the real probe follows and ours takes as ready",
    ),
    ("proxy-websocket", SWITCH),
    ("forward-websocket", SWITCH),
    (
        "forward-keepalive-after-204",
        "a fault of .NET 8 alone; the whole host keeps the connection (B.ans.204)",
    ),
    ("envelope-get-traceparent-withlistener", ENVELOPE_TRACE),
    ("envelope-get-notraceparent-withlistener", ENVELOPE_TRACE),
    ("envelope-get-path /api/Route//x/./y/../z;p=1", ROUTES),
    ("envelope-get-path /api/route/%25zz/%41?q=%41%7e", ROUTES),
    ("envelope-method-HEAD", NEVER),
    ("envelope-resp-204", NEVER),
    ("envelope-resp-nullbody-json", NEVER),
    ("envelope-out-http-body-date", CONVERSION),
    ("envelope-out-http-headers-various", CONVERSION),
    ("envelope-out-http-status-99999", CONVERSION),
    ("envelope-out-http-headers-contentlength", CONVERSION),
    ("envelope-out-http$-return-done", CONVERSION),
    ("out-queue-obj-text-dates", DATES),
    ("out-queue-iso-date", DATES),
    ("out-queue-iso-date-offset", DATES),
    ("out-queue-arr-date", DATES),
    (
        "singleton-defaults",
        "only apps on several instances meet it: lock periods; one host a machine has nobody to lock out",
    ),
    (
        "timer-first-status-roundtrip",
        "a status of the file monitor, made by the recorder; the whole host's are F.status-blobs",
    ),
    ("process-killtree", "the host never kills a tree: what it does is process-kill, which is replayed"),
    (
        "process-ctrlc-pty",
        "needs a terminal; what makes Ctrl-C reach the child, the common process group, is in process-kill",
    ),
];
