-- Routes that not every engine has, as found at the last sync: a JSON list.
ALTER TABLE endpoints ADD COLUMN native_apis TEXT;
