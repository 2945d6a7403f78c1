import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Files are opened by path, without a server.
export default defineConfig({ base: './', plugins: [react()], define: { 'process.env': {}, global: 'globalThis' } });
