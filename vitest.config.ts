import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["test/leak-oracle.ts"],
    dangerouslyIgnoreUnhandledErrors: false,
    testTimeout: 20_000,
  },
});
