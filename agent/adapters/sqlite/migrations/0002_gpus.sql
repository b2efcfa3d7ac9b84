-- What is known of a GPU's health must outlive a restart: nothing leaves quarantine by one.
CREATE TABLE gpus (
    uuid TEXT PRIMARY KEY,
    health TEXT NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;
