ALTER TABLE endpoints ADD COLUMN model_aliases TEXT NOT NULL DEFAULT '[]';
ALTER TABLE endpoints ADD COLUMN model_capabilities TEXT NOT NULL DEFAULT '[]';
