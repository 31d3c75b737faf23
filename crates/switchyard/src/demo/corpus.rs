//! First sentences of books in the public domain, questions about them in other words, and the
//! neighbour that a sentence encoder must find.

/// What is searched.
pub(super) const SENTENCES: [&str; 10] = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "Call me Ishmael. Some years ago, having little or no money in my purse, I thought I would sail about a little and see the watery part of the world.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Happy families are all alike; every unhappy family is unhappy in its own way.",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.",
    "The Time Traveller was expounding a recondite matter to us. His pale grey eyes shone and twinkled.",
    "Marley was dead: to begin with. There is no doubt whatever about that.",
    "No one would have believed that this world was being watched keenly and closely by intelligences greater than man's.",
    "All children, except one, grow up. They soon know that they will grow up.",
    "In the year 1878 I took my degree of Doctor of Medicine and proceeded to Netley to go through the course prescribed for surgeons in the army.",
];

/// A question, and the index of its sentence.
pub(super) const QUESTIONS: [(&str, usize); 4] = [
    ("a rich bachelor needs to marry", 0),
    ("a sailor goes to sea because he is poor", 1),
    ("aliens are secretly observing the Earth", 7),
    ("an army surgeon finishes medical school", 9),
];
