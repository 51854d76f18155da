"""What happened, at the level of detail that each person's privacy allows, and what was given because of it.

Nouns: `EventSender` (in a worker: hands messages over, never waits) · `EventReceiver` (in control: receives them) · `Recorder`
(writes batches) · `GrantStore` (requests, grants and pauses: few rows that must not be lost) · `JournalReader` (typed answers for the
pages).

Deliberately absent: a visit to a lifeline. Privacy is applied before anything gets here (`policies.observe`), and the courier and
the recorder each refuse a lifeline once more. Also absent: any rule, and any knowledge of how a metric is shown.
"""
