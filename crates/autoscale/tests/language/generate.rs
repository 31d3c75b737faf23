//! Random formulas by the grammar and its types, and random damage to a text, both from a seed.

/// A small generator of its own (xorshift), so that a failing seed means the same everywhere.
pub struct Dice(u64);

const METRICS: [&str; 4] = ["$PendingTasks", "$RunningTasks", "$CPUPercent", "$CurrentDedicatedNodes"];
const TARGETS: [&str; 4] =
    ["$TargetDedicatedNodes", "$TargetDedicated", "$TargetLowPriorityNodes", "$TargetLowPriority"];
const WORDS: [&str; 24] = [
    "$",
    "(",
    ")",
    ";",
    "=",
    "==",
    "?",
    ":",
    ",",
    ".",
    "-",
    "!",
    "&&",
    "\"",
    "//",
    "\n",
    "é",
    "99999999999999999999",
    "0.1",
    "GetSample",
    "$PendingTasks",
    "stop()",
    "time",
    "TimeInterval_Second",
];

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A formula that the parser takes.
    pub fn formula(&mut self) -> String {
        let mut text = String::from("d0 = 1; v0 = vec(1, 2); i0 = TimeInterval_Minute; t0 = time();");
        for at in 1..2 + self.below(5) {
            let gap = self.pick(&["\n", " ", " // a remark\n", "\r\n\t"]);
            let statement = match self.below(6) {
                0 => format!("v{at} = {}", self.vector(3)),
                1 => format!("i{at} = {}", self.interval(3)),
                2 => format!("t{at} = {}", self.timestamp(3)),
                3 => format!("d{at} = {}", self.double(4)),
                4 => format!("$NodeDeallocationOption = {}", self.pick(&["requeue", "taskcompletion"])),
                _ => format!("{} = {}", self.pick(&TARGETS), self.double(4)),
            };
            text.push_str(&format!("{gap}{statement};"));
        }
        text
    }

    fn double(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(5) {
                0 => self.pick(&METRICS).to_owned(),
                1 => self.pick(&TARGETS).to_owned(),
                2 => "d0".to_owned(),
                3 => format!("{}.{}", self.below(1_000), self.below(10)),
                _ => self.below(50).to_string(),
            };
        }
        let depth = depth - 1;
        match self.below(9) {
            0 | 1 => {
                let operators = ["+", "-", "*", "/", "<", "<=", "==", ">=", ">", "!=", "&&", "||"];
                let (left, right) = (self.double(depth), self.double(depth));
                format!("{left} {} {right}", self.pick(&operators))
            }
            2 => format!("({})", self.double(depth)),
            3 => format!("{}{}", self.pick(&["-", "!"]), self.double(0)),
            4 => {
                let function = self.pick(&["avg", "len", "max", "min", "norm", "range", "std", "sum"]);
                format!("{function}({}, {})", self.double(depth), self.vector(depth))
            }
            5 => format!("({} ? {} : {})", self.double(depth), self.double(depth), self.double(depth)),
            6 => {
                let function = self.pick(&["val", "percentile"]);
                format!("{function}({}, {})", self.vector(depth), self.double(depth))
            }
            7 => format!("({}).{}", self.timestamp(depth), self.pick(&["hour", "weekday", "year", "second"])),
            _ => format!("{}.GetSamplePercent({})", self.pick(&METRICS), self.interval(depth)),
        }
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return "v0".to_owned();
        }
        let depth = depth - 1;
        let metric = self.pick(&METRICS);
        match self.below(5) {
            0 => format!("({} {} ({}))", self.vector(depth), self.pick(&["+", "*"]), self.double(depth)),
            1 => format!("vec({}, {})", self.vector(depth), self.double(depth)),
            2 => format!("{metric}.GetSample({})", self.interval(depth)),
            3 => format!("{metric}.GetSample({}, {})", self.timestamp(depth), self.interval(depth)),
            _ => format!("{metric}.GetSample({}, {})", self.interval(depth), self.below(120)),
        }
    }

    fn interval(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .pick(&["i0", "TimeInterval_Hour", "TimeInterval_100ns", "TimeInterval_Year"])
                .to_owned();
        }
        let depth = depth - 1;
        match self.below(4) {
            0 => format!("({} * ({}))", self.interval(depth), self.double(depth)),
            1 => format!("({} - {})", self.interval(depth), self.interval(depth)),
            2 => format!("({} - {})", self.timestamp(depth), self.timestamp(depth)),
            _ => format!("-{}", self.interval(0)),
        }
    }

    fn timestamp(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.pick(&["t0", "time()", "time(\"2016-10-13T19:18Z\")"]).to_owned();
        }
        format!("({} + {})", self.timestamp(depth - 1), self.interval(depth - 1))
    }

    /// A text with a few of its characters dropped, doubled or replaced.
    pub fn damage(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(4) {
            let at = self.below(characters.len());
            match self.below(4) {
                0 => characters.truncate(at),
                1 if at < characters.len() => drop(characters.remove(at)),
                2 => {
                    let byte = u8::try_from(self.below(256)).expect("below 256");
                    characters.insert(at, char::from(byte));
                }
                _ => drop(characters.splice(at..at, self.pick(&WORDS).chars())),
            }
        }
        characters.into_iter().collect()
    }
}
