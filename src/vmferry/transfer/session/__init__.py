"""What two workers have between them: many streams over several connections, and their own messages. Knows no VM."""
