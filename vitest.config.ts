import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    dangerouslyIgnoreUnhandledErrors: false,
    testTimeout: 20_000,
  },
});
