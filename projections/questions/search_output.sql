-- Which lines of output hold a text, whatever its case?
-- parameter text: the text; every line when left out
-- parameter stream: stdout or stderr
SELECT server_name, entry, attempt, stream, line, text
FROM output_lines
WHERE ($text::VARCHAR IS NULL OR contains(lower(text), lower($text::VARCHAR)))
    AND ($stream::VARCHAR IS NULL OR stream = $stream::VARCHAR)
ORDER BY server_name, entry, attempt, stream, line
